"""The page: every verb for people who open no terminal, over the same jobs that the server does for programs."""
