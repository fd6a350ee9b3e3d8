//! Two seeds, one peer, and what a hostile seed may try: the machine alone on virtual time.
