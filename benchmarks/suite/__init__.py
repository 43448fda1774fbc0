"""What asv tracks. Every benchmark measures in processes of its own; the scripts they run stand one folder above."""
