"""What the demo watches for: one automation for each thing that the fleet does wrong, as YAML."""

from cli.demo_receiver import (
    SLACK,
    SLACK_AGENT_MARK,
    SLACK_AGENT_TEXT,
    SLACK_RUN_MARK,
    SLACK_RUN_TEXT,
    WEBHOOK,
)
from cli.simulation import FAILED, LATE, LOST, STUCK, FleetShape
from schemas.ids import named_record_id

TENANT_ID, TENANT_SLUG = "demo", "demo"

SLACK_SECRET = "DEMO_SLACK"  # noqa: S105 - the name of a secret
SHAPE = FleetShape(
    tenant_id=TENANT_ID,
    tenant_slug=TENANT_SLUG,
    runs_per_second=2.0,
    agent_config_ids=tuple(named_record_id(TENANT_ID, "agent_config", name) for name in ("prod", "staging")),
    late_ms=4_000,
    stuck_ms=5_000,
    unhealthy_ms=5_000,
    settle_ms=4_500,
)
"""The demo's fleet; ``settle_ms`` is well above the demo's GRACE_MS."""

PLACES = {FAILED: (WEBHOOK,), LATE: (WEBHOOK, SLACK), STUCK: (WEBHOOK,), LOST: (WEBHOOK, SLACK)}
"""Where the manifest sends each kind."""

_MANIFEST = """\
tenant: {{id: {tenant_id}, slug: {tenant_slug}}}
actions:
  - {{name: call back, type: WebhookAction, config: {{url: "http://127.0.0.1:{port}/webhook"}}}}
  - name: tell the team
    type: SlackNotificationAction
    config: {{webhook_url_secret: {secret}, message: "{run_text} {run_mark}"}}
  - name: tell operations
    type: SlackNotificationAction
    config: {{webhook_url_secret: {secret}, message: "{agent_text} {agent_mark}"}}
agent_configs: [{{name: prod}}, {{name: staging}}]
automations:
  - name: failures
    when: {{event: FlowRunStateChangedEvent, states: [Failed, TimedOut]}}
    then: [call back]
  - name: late starts
    when: {{event: FlowSLAFailedEvent, kind: SCHEDULED_NOT_STARTED, duration_seconds: {late}}}
    then: [call back, tell the team]
  - name: stuck runs
    when: {{event: FlowSLAFailedEvent, kind: STARTED_NOT_FINISHED, duration_seconds: {stuck}}}
    then: [call back]
  - name: no agents in prod
    when: {{event: AgentSLAFailedEvent, agent_config: prod, unhealthy_after_seconds: {unhealthy}}}
    then: [call back, tell operations]
  - name: no agents in staging
    when: {{event: AgentSLAFailedEvent, agent_config: staging, unhealthy_after_seconds: {unhealthy}}}
    then: [call back, tell operations]
"""


def manifest(receiver_port: int) -> str:
    """The demo's automations, notifying the receiver on that port."""
    return _MANIFEST.format(
        tenant_id=TENANT_ID,
        tenant_slug=TENANT_SLUG,
        port=receiver_port,
        secret=SLACK_SECRET,
        run_text=SLACK_RUN_TEXT,
        run_mark=SLACK_RUN_MARK,
        agent_text=SLACK_AGENT_TEXT,
        agent_mark=SLACK_AGENT_MARK,
        late=SHAPE.late_ms // 1000,
        stuck=SHAPE.stuck_ms // 1000,
        unhealthy=SHAPE.unhealthy_ms // 1000,
    )
