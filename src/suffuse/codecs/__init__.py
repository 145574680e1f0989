"""Raw data to states and back: ranges, units, vocabularies and fitted statistics live here and nowhere else."""
