"""The channels: how each action type is said, and what the answers to it mean.

A channel is pure functions over values. Sending, retrying, secrets and results are the same for all of them
and happen elsewhere.
"""

from collections.abc import Mapping

from actions.channels import email, pagerduty, slack, teams, twilio, webhook
from actions.channels.channel import Channel
from actions.channels.prefect import CANCEL, CREATE, PAUSE

CHANNELS: Mapping[str, Channel] = {
    "WebhookAction": webhook.CHANNEL,
    "SlackNotificationAction": slack.CHANNEL,
    "TeamsWebhookNotificationAction": teams.CHANNEL,
    "EmailNotificationAction": email.CHANNEL,
    "TwilioNotificationAction": twilio.CHANNEL,
    "PagerDutyNotificationAction": pagerduty.CHANNEL,
    "CancelFlowRunAction": CANCEL,
    "PauseScheduleAction": PAUSE,
    "CreateFlowRunAction": CREATE,
}
"""The channel of each action type."""
