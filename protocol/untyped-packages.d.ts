/** Packages that ship no types; the files that import them state what they use. */
declare module 'snappyjs'
declare module 'lz4js'
declare module 'lz4js/xxh32.js'
