"""What a person sees in the terminal: tables that fit, bars, times. Needs no other part of embedkit but `showing`."""
