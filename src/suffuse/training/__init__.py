"""Training that can be trusted: exact resume, several averages of the weights, and a bound on data held out."""
