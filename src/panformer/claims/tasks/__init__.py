"""Small seeded problems that tell mechanisms apart. One file, one task."""
