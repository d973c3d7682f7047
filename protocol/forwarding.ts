/** What nodes tell each other of a request that one passes on for a client. */

/** Marks a request that a node passes on: it is not passed on again. */
export const FORWARDED_HEADER = 'tidemark-forwarded'
/** Trailer of an answer that changed the metadata: the version with the change. */
export const VERSION_TRAILER = 'tidemark-metadata-version'
