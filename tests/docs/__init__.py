"""What the documentation says is tried out: its code is run, its conversations are held, its commands are parsed."""
