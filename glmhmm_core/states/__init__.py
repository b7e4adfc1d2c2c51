"""What the hidden states are: labels by stated rules, display order and colors."""
