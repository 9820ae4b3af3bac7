"""From a video file to clips of upright uint8 frames with their real presentation times."""
