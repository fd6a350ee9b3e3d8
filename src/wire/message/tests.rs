//! Items as peers of this, of a later and of no version write them.
