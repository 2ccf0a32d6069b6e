"""Any rank function by SOAP: a user's own, Gittins, nested orders."""
