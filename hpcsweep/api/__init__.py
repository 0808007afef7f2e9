"""What `import hpcsweep` offers beyond what the rooms below have already; users import it from `hpcsweep` itself."""
