"""What a study asks for: its file, its cells with their keys and random streams, and the packs they travel in."""
