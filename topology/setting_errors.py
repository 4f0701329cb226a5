"""What a wrong setting raises."""


class SettingError(ValueError):
    """A setting is wrong or missing; the message is one line that names the variable and the remedy."""
