"""What more than one notebook of the course needs: proxies, routing, figures, graders, the ledger of claims."""
