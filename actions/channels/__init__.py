"""The channels: how each action type is said, and what the answers to it mean.

A channel is pure functions over values. Sending, retrying, secrets and results are the same for all of them
and happen elsewhere.
"""

from collections.abc import Mapping

from actions.channels import slack, webhook
from actions.channels.channel import Channel

CHANNELS: Mapping[str, Channel] = {
    "WebhookAction": webhook.CHANNEL,
    "SlackNotificationAction": slack.CHANNEL,
}
"""The channel of each action type that has one."""
