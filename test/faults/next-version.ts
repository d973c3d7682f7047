/** The version that comes after this one: the same sources, but for the feature level of the metadata they write and understand. */
import { cp, mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { FEATURE_LEVEL } from '../../controller/metadata/nodes.ts'
import { ROOT } from './support.ts'

/** What a node is made of. */
const ROOMS = ['broker', 'cli', 'client', 'controller', 'log', 'protocol', 'runtime', 'package.json']

export const NEXT_LEVEL: number = FEATURE_LEVEL + 1

/** Writes its sources below `directory`, and returns where they are. */
export async function makeNextVersion(directory: string): Promise<string> {
  const sources = join(directory, 'next-version')
  await mkdir(sources)
  await Promise.all(ROOMS.map((room) => cp(join(ROOT, room), join(sources, room), { recursive: true })))
  await symlink(join(ROOT, 'node_modules'), join(sources, 'node_modules'), 'junction')
  const path = join(sources, 'controller/metadata/nodes.ts')
  const text = await readFile(path, 'utf8')
  const patched = text.replace(`FEATURE_LEVEL = ${FEATURE_LEVEL}`, `FEATURE_LEVEL = ${NEXT_LEVEL}`)
  expect(patched).not.toBe(text)
  await writeFile(path, patched)
  return sources
}
