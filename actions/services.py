"""What the settings say of the services that actions use."""

from actions.channels.channel import Services
from topology.settings import Settings


def services_of(settings: Settings) -> Services:
    """The channels' share of the settings: addresses, and secrets by name only."""
    return Services(
        twilio_base_url=settings.twilio_base_url,
        pagerduty_base_url=settings.pagerduty_base_url,
        prefect_backend=settings.prefect_backend,
        prefect_api_url=settings.prefect_api_url,
        prefect_api_key_secret=settings.prefect_api_key_secret,
        smtp_host=settings.smtp_host,
        smtp_port=settings.smtp_port,
        email_from=settings.email_from,
        operators_secrets=frozenset(
            name for name in (settings.prefect_api_key_secret, settings.smtp_password_secret) if name
        ),
    )
