/** A line through measured points as SVG, on a logarithmic x axis. */

export interface Plot {
  readonly title: string
  readonly x: string
  readonly y: string
  readonly points: readonly { readonly x: number; readonly y: number }[]
}

const WIDTH = 560
const HEIGHT = 300
const LEFT = 70
const RIGHT = 20
const TOP = 40
const BOTTOM = 50
const TICKS = 4

export function svgOf({ title, x, y, points }: Plot): string {
  const xMin = Math.min(...points.map((point) => point.x))
  const span = Math.log(Math.max(...points.map((point) => point.x)) / xMin) || 1
  const top = niceAbove(Math.max(...points.map((point) => point.y)))
  const across = (value: number): number => LEFT + (Math.log(value / xMin) / span) * (WIDTH - LEFT - RIGHT)
  const up = (value: number): number => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM)
  const text = (atX: number, atY: number, anchor: string, content: string): string =>
    `<text x="${atX.toFixed(1)}" y="${atY.toFixed(1)}" text-anchor="${anchor}">${escape(content)}</text>`
  const parts = [text(WIDTH / 2, 20, 'middle', title), text(WIDTH / 2, HEIGHT - 10, 'middle', x), text(LEFT, TOP - 8, 'middle', y)]
  for (let tick = 0; tick <= TICKS; tick++) {
    const value = (top / TICKS) * tick
    parts.push(
      `<path d="M${LEFT} ${up(value).toFixed(1)}H${WIDTH - RIGHT}" stroke="#ddd"/>`,
      text(LEFT - 8, up(value) + 4, 'end', short(value)),
    )
  }
  for (const point of points) {
    parts.push(`<circle cx="${across(point.x).toFixed(1)}" cy="${up(point.y).toFixed(1)}" r="3" fill="#06c"/>`)
    parts.push(text(across(point.x), HEIGHT - BOTTOM + 18, 'middle', short(point.x)))
  }
  const line = points.map((point) => `${across(point.x).toFixed(1)},${up(point.y).toFixed(1)}`).join(' ')
  parts.push(`<polyline points="${line}" fill="none" stroke="#06c" stroke-width="2"/>`)
  const head = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`
  return `${head}\n<rect width="100%" height="100%" fill="#fff"/>\n${parts.join('\n')}\n</svg>\n`
}

function niceAbove(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value || 1))
  return ([1, 2, 4, 5, 10].find((step) => step * power >= value) ?? 10) * power
}

function short(value: number): string {
  return String(Number(value.toPrecision(3)))
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}
