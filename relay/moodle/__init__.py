"""Where events come from: Moodle's database, which is read and never written."""
