"""Where the vectors of a library are searched: FAISS beside the library, or a Qdrant server."""
