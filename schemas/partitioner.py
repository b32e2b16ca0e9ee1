"""Which partition a key has: every writer must agree, or a lead's records lie in two."""


def partition_of(key: str | bytes, partitions: int) -> int:
    """Partition of a key as Kafka's Java clients choose it (and librdkafka's `murmur2_random`)."""
    data = key.encode("utf-8") if isinstance(key, str) else key
    return (_murmur2(data) & 0x7FFFFFFF) % partitions


def _murmur2(data: bytes) -> int:
    """`org.apache.kafka.common.utils.Utils.murmur2`: 32-bit MurmurHash2 with Kafka's seed."""
    multiplier, mask = 0x5BD1E995, 0xFFFFFFFF
    size = len(data)
    value = (0x9747B28C ^ size) & mask
    whole = size - size % 4
    for start in range(0, whole, 4):
        word = int.from_bytes(data[start : start + 4], "little") * multiplier & mask
        word = (word ^ (word >> 24)) * multiplier & mask
        value = (value * multiplier & mask) ^ word
    if size > whole:
        value = (value ^ int.from_bytes(data[whole:], "little")) * multiplier & mask
    value = (value ^ (value >> 13)) * multiplier & mask
    return value ^ (value >> 15)
