"""The ``automations`` command: services, control records as YAML, live output, simulator and demo."""
