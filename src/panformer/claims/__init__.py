"""The judges that run a paper's checks, and the evidence they write."""
