"""The GLM-HMM as a Dynamax model. Nothing is imported here: Dynamax takes seconds to load."""
