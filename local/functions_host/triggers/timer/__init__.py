"""Timer triggers: NCRONTAB schedules, their monitor and their lease."""
