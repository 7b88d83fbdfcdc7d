"""USPTO red-book XML (ICE 4.x): from files to documents, from documents to text."""
