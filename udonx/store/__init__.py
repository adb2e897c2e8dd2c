"""The results folder: trained stages, evaluations, locks."""
