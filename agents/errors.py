"""The one error of the client that is neither a refusal (a value) nor a mistake of the caller (ValueError)."""


class MandateUnavailable(Exception):  # noqa: N818  (one of three families, STYLE "Errors")
    """Mandate can't be reached, or was lost; the message says what to check.

    No effect may happen meanwhile. The agent's operator mends what the message names; the agent makes a new client.
    """
