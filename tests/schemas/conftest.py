"""Property tests here are bounded by examples, never by the speed of a busy machine."""

from hypothesis import HealthCheck, settings

settings.register_profile("bounded", deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bounded")
