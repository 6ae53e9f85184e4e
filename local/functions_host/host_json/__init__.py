"""Reading host.json: sections, options, time spans."""
