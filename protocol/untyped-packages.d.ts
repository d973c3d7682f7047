/** Packages that ship no types; the files that import them state what they use. */
declare module 'snappyjs'
declare module 'lz4js'
