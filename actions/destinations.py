"""Where a delivery goes, and in which lane it queues."""

import structlog

from actions.channels import CHANNELS
from actions.channels.channel import Services
from actions.delivery import Delivery, subject
from actions.lanes import Lane

log = structlog.get_logger()


def lane_of(delivery: Delivery, services: Services) -> Lane:
    """Its lane; a config that a channel stumbles over goes nowhere, and is told so when it is tried."""
    channel = CHANNELS[delivery.action.action_type]
    try:
        destination = channel.destination(delivery.event, delivery.action.config, services)
    except Exception as error:
        log.error("a destination can't be told", delivery_id=delivery.id, error=type(error).__name__)
        destination = "invalid"
    return Lane(destination, subject(delivery.event))
