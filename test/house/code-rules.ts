/** What no file may say, each ban with what to say instead. */
import { type Finding, isNode, type Source, type SyntaxNode } from './source.ts'

/** A ban on pieces of syntax: it names the objection to a node, or nothing. */
interface Ban {
  readonly where: RegExp
  objection(node: SyntaxNode): string | undefined
}

const RUNTIME_ROOMS = /^(protocol|log|controller|broker|client)\//
const ROOMS_WITH_TYPED_ERRORS = /^(protocol|log|controller|broker|client|testing)\//
const CODE = /^/
/** Reads defaults from the environment, as the command line does. */
const KNOWS_THE_PROCESS = new Set(['broker/config.ts'])
/** Every byte of every batch passes through these. */
const HOT =
  /^(protocol\/(batch-header|crc32c|log-codec|scatter-message)|broker\/operations\/(produce|fetch)|broker\/partition|log\/(group-commit|tail-cache))\.ts$/
const NEEDS_DEFAULT_EXPORT = new Set(['vitest.config.ts'])

/** Members and globals that stand for the outside world, and the piece of the Runtime to take instead. */
const OUTSIDE_WORLD = new Map(
  Object.entries({
    'Date.now': 'clock.now of the Runtime',
    'Math.random': 'random.float of the Runtime',
    'performance.now': 'clock.monotonic of the Runtime',
    'crypto.randomUUID': 'random.bytes of the Runtime',
    'crypto.getRandomValues': 'random.bytes of the Runtime',
  }),
)
const OUTSIDE_CALLS = new Map(
  Object.entries({
    setTimeout: 'timers.after of the Runtime',
    setInterval: 'timers.every of the Runtime',
    setImmediate: 'timers.nextTurn of the Runtime',
  }),
)

const BANS: readonly Ban[] = [
  {
    where: RUNTIME_ROOMS,
    objection(node) {
      const name = node.type === 'MemberExpression' ? memberName(node) : undefined
      const instead = name === undefined ? undefined : OUTSIDE_WORLD.get(name)
      return instead === undefined ? undefined : `${name}: take ${instead}`
    },
  },
  {
    where: RUNTIME_ROOMS,
    objection(node) {
      const name = node.type === 'CallExpression' && isNode(node.callee) ? nameOf(node.callee) : undefined
      const instead = name === undefined ? undefined : OUTSIDE_CALLS.get(name)
      return instead === undefined ? undefined : `${name}: take ${instead}`
    },
  },
  {
    where: RUNTIME_ROOMS,
    objection: (node) =>
      node.type === 'NewExpression' && isNode(node.callee) && nameOf(node.callee) === 'Date' && isEmpty(node.arguments)
        ? 'new Date(): take clock.now of the Runtime'
        : undefined,
  },
  {
    where: RUNTIME_ROOMS,
    objection(node) {
      const name = node.type === 'MemberExpression' ? memberName(node) : undefined
      return name?.startsWith('process.') ? `${name}: only the composition roots know the process; take it as an argument` : undefined
    },
  },
  {
    where: ROOMS_WITH_TYPED_ERRORS,
    objection(node) {
      const thrown = node.type === 'ThrowStatement' && isNode(node.argument) ? node.argument : undefined
      const name = thrown?.type === 'NewExpression' && isNode(thrown.callee) ? nameOf(thrown.callee) : undefined
      return /^(Type)?Error$/.test(name ?? '')
        ? `throw new ${name}: throw a TidemarkError with a code, or use invariant() for a programmer's mistake`
        : undefined
    },
  },
  {
    where: HOT,
    objection(node) {
      const name = node.type === 'CallExpression' && isNode(node.callee) ? nameOf(node.callee) : undefined
      return name === 'Buffer.concat' || name === 'JSON.parse' ? `${name} on the path of every batch: hand the pieces on` : undefined
    },
  },
  {
    where: CODE,
    objection: (node) => (node.type === 'TSEnumDeclaration' ? 'enum: use an `as const` object, which survives type stripping' : undefined),
  },
  {
    where: CODE,
    objection: (node) => (node.type === 'TSAnyKeyword' ? 'any: say what it is, or `unknown` and look' : undefined),
  },
  {
    where: CODE,
    objection: (node) =>
      node.type === 'ExportDefaultDeclaration' ? 'default export: give it a name, so that it has the same one everywhere' : undefined,
  },
  {
    where: /^test\//,
    objection(node) {
      const name = node.type === 'MemberExpression' ? memberName(node) : undefined
      if (/^(it|test|describe)\.only$/.test(name ?? '')) return `${name}: it switches off every other test`
      if (/^(it|test|describe)\.(skip|todo|fails)$/.test(name ?? ''))
        return `${name}: skip inside the test with a reason, as in context.skip('needs root')`
      return undefined
    },
  },
]

export function checkCode(source: Source): Finding[] {
  const bans = BANS.filter((ban) => ban.where.test(source.path))
  return source.nodes.flatMap((node) =>
    bans.flatMap((ban) => {
      const message = ban.objection(node)
      if (message === undefined || isExcepted(source.path, message)) return []
      return [{ path: source.path, line: source.lineAt(node.start), message }]
    }),
  )
}

function isExcepted(path: string, message: string): boolean {
  return (
    (NEEDS_DEFAULT_EXPORT.has(path) && message.startsWith('default export')) ||
    (KNOWS_THE_PROCESS.has(path) && message.startsWith('process.'))
  )
}

/** What a comment may not be: a switch for the type checker, or work left over with no issue to find it by. */
export function checkComments(source: Source): Finding[] {
  return source.comments.flatMap(({ text, line }) => {
    const message = /@ts-(ignore|nocheck)\b/.test(text)
      ? '@ts-ignore: mend the type'
      : /\b(TODO|FIXME|XXX)\b(?!\(#\d+\))/.test(text)
        ? 'TODO without an issue: write TODO(#12), or do it'
        : undefined
    return message === undefined ? [] : [{ path: source.path, line, message }]
  })
}

/** A function longer than this no longer reads as a table of contents. */
export const FUNCTION_LINES_MAX = 70

export function checkFunctions(source: Source): Finding[] {
  if (source.path.startsWith('test/')) return []
  return source.nodes
    .filter((node) => /^(FunctionDeclaration|FunctionExpression|ArrowFunctionExpression)$/.test(node.type))
    .map((node) => ({ line: source.lineAt(node.start), lines: source.lineAt(node.end) - source.lineAt(node.start) + 1 }))
    .filter(({ lines }) => lines > FUNCTION_LINES_MAX)
    .map(({ line, lines }) => ({
      path: source.path,
      line,
      message: `a function of ${lines} lines: at most ${FUNCTION_LINES_MAX}, move steps into functions of their own`,
    }))
}

/** `a.b` or `a`, for an identifier or a chain of plain members. */
function nameOf(node: SyntaxNode): string | undefined {
  return node.type === 'Identifier' ? String(node.name) : node.type === 'MemberExpression' ? memberName(node) : undefined
}

function memberName(node: SyntaxNode): string | undefined {
  if (node.computed === true || !isNode(node.object) || !isNode(node.property)) return undefined
  const object = nameOf(node.object)
  return object === undefined ? undefined : `${object}.${String(node.property.name)}`.replace(/^globalThis\./, '')
}

function isEmpty(list: unknown): boolean {
  return Array.isArray(list) && list.length === 0
}
