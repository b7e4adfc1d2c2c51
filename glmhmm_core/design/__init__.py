"""Design: trials into the arrays that models are fitted to."""
