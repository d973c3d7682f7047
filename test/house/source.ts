/** A file of the project as the rules see it: its text, and for code its imports and syntax tree. */
import { parseSync } from 'vite'

/** A node of the syntax tree (ESTree with TypeScript); what a node holds besides depends on its type. */
export interface SyntaxNode {
  readonly type: string
  readonly start: number
  readonly end: number
  readonly [key: string]: unknown
}

export interface Import {
  /** As written. */
  readonly specifier: string
  readonly isTypeOnly: boolean
  readonly isDynamic: boolean
  /** The names imported, under which the other file knows them; empty for a whole module. */
  readonly names: readonly string[]
  readonly line: number
}

export interface Source {
  /** Relative to the project, with `/`. */
  readonly path: string
  readonly text: string
  readonly imports: readonly Import[]
  readonly comments: readonly { readonly text: string; readonly line: number }[]
  readonly nodes: readonly SyntaxNode[]
  lineAt(position: number): number
}

export interface Finding {
  readonly path: string
  readonly line: number
  /** What is wrong and what to do instead. */
  readonly message: string
}

export function describeFinding(finding: Finding): string {
  return `${finding.path}:${finding.line}: ${finding.message}`
}

export function parseSource(path: string, text: string): Source {
  const parsed = parseSync(path, text)
  if (parsed.errors[0] !== undefined) throw new Error(`${path} does not parse: ${parsed.errors[0].message}`)
  const lineAt = (position: number): number => text.slice(0, position).split('\n').length
  const nodes = [...nodesOf(parsed.program)]
  const comments = parsed.comments.map((comment) => ({ text: comment.value, line: lineAt(comment.start) }))
  return { path, text, nodes, comments, lineAt, imports: nodes.flatMap((node) => importsOf(node, lineAt)) }
}

function* nodesOf(value: unknown): Generator<SyntaxNode> {
  if (Array.isArray(value)) for (const item of value) yield* nodesOf(item)
  else if (isNode(value)) {
    yield value
    for (const child of Object.values(value)) yield* nodesOf(child)
  }
}

export function isNode(value: unknown): value is SyntaxNode {
  return typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string'
}

/** `import`, `export … from`, `import()` and the `import()` of a type. */
function importsOf(node: SyntaxNode, lineAt: (position: number) => number): Import[] {
  const from = node.type === 'TSImportType' ? (node.source ?? node.argument) : node.source
  if (!['ImportDeclaration', 'ExportNamedDeclaration', 'ExportAllDeclaration', 'ImportExpression', 'TSImportType'].includes(node.type))
    return []
  if (!isNode(from) || typeof from.value !== 'string') return []
  const specifiers = Array.isArray(node.specifiers) ? node.specifiers.filter(isNode) : []
  const isTypeOnly =
    node.type === 'TSImportType' ||
    node.importKind === 'type' ||
    node.exportKind === 'type' ||
    (specifiers.length > 0 && specifiers.every((specifier) => specifier.importKind === 'type' || specifier.exportKind === 'type'))
  const names = specifiers.flatMap((specifier) => (isNode(specifier.imported) ? [String(specifier.imported.name)] : []))
  return [{ specifier: from.value, isTypeOnly, isDynamic: node.type === 'ImportExpression', names, line: lineAt(node.start) }]
}
