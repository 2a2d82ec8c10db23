// Loads the status page as several readers would: a desktop, a phone, light and dark, by keyboard alone. Prints what each
// sees as JSON; screenshots go to a folder. Called by `browser`.
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [driver, executablePath, url, folder] = process.argv.slice(2);
const { chromium } = await import(pathToFileURL(driver).href);

const READERS = [
  { name: 'desktop-light', width: 1200, height: 900, colorScheme: 'light' },
  { name: 'desktop-dark', width: 1200, height: 900, colorScheme: 'dark' },
  { name: 'phone-light', width: 390, height: 844, colorScheme: 'light' },
  { name: 'phone-dark', width: 390, height: 844, colorScheme: 'dark' },
];

// Runs in the page: what is on it, and the worst contrast of any of its texts (WCAG 2's ratio).
function read() {
  const channel = value => value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4;
  const numbers = colour => colour.match(/[\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const background = node => {
    for (; node; node = node.parentElement) {
      const colour = numbers(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  let worst = { ratio: 99, text: '' };
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.checkVisibility() || node.closest('.skip, script, noscript')) continue;
    const [a, b] = [luminance(numbers(getComputedStyle(node).color)), luminance(background(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst.ratio) worst = { ratio, text: node.textContent.trim().slice(0, 40) };
  }
  const streams = [...document.querySelectorAll('[data-stream]')].map(node => ({
    name: node.dataset.stream,
    heading: node.querySelector('h2').textContent,
    state: node.querySelector('.state').textContent,
    error: node.querySelector('.error').hidden ? null : node.querySelector('.error').textContent,
    numbers: Object.fromEntries([...node.querySelectorAll('dd')].map(dd => [dd.dataset.key, dd.textContent])),
    reasons: Object.fromEntries([...node.querySelectorAll('[data-reason]')].map(li => [li.dataset.reason, li.querySelector('b').textContent])),
    charts: [...node.querySelectorAll('svg')].map(svg => svg.getAttribute('aria-label')),
    drawn: [...node.querySelectorAll('svg')].filter(svg => svg.childElementCount > 0).length,
  }));
  return {
    overall: document.getElementById('overall').textContent,
    overflow: document.documentElement.scrollWidth - innerWidth,
    contrast: worst,
    unnamed: [...document.querySelectorAll('section, svg, table, main')].filter(node =>
      node.checkVisibility() && !node.getAttribute('aria-label') && !node.getAttribute('aria-labelledby')).length,
    streams,
  };
}

const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({ executablePath, args });
const seen = {};
for (const { name, width, height, colorScheme } of READERS) {
  const page = await browser.newPage({ viewport: { width, height }, colorScheme, deviceScaleFactor: 1 });
  const complaints = [], elsewhere = [];
  page.on('pageerror', error => complaints.push(String(error)));
  page.on('console', message => message.type() === 'error' && complaints.push(message.text()));
  page.on('request', request => request.url().startsWith(new URL(url).origin) || request.url().startsWith('data:') || elsewhere.push(request.url()));
  const started = performance.now();
  await page.goto(url);
  await page.waitForFunction(() => document.body.dataset.loaded === 'true', null, { timeout: 30000 });
  const milliseconds = Math.round(performance.now() - started);
  seen[name] = { ...await page.evaluate(read), complaints, elsewhere, milliseconds };
  await page.screenshot({ path: path.join(folder, name + '.png'), fullPage: true });
  if (name === 'desktop-light') {
    // By keyboard alone: what Tab reaches, in order, and what the arrow keys make a chart say.
    const stops = [];
    let chart = null;
    for (let presses = 0; presses < 40; presses++) {
      await page.keyboard.press('Tab');
      const stop = await page.evaluate(() => {
        const node = document.activeElement;
        return { tag: node.tagName.toLowerCase(), outline: getComputedStyle(node).outlineStyle, text: (node.getAttribute('aria-label') || node.textContent).trim().slice(0, 60) };
      });
      if (stop.tag === 'body') break;
      stops.push(stop);
      if (stop.tag === 'svg' && chart === null) {
        await page.keyboard.press('ArrowLeft');
        chart = await page.evaluate(() => document.activeElement.parentElement.querySelector('output').textContent);
      }
    }
    seen.keyboard = { stops, chart };
    await page.locator('summary', { hasText: 'Partitions' }).first().click();
    await page.locator('summary', { hasText: 'Newest micro-batches' }).first().click();
    await page.waitForFunction(() => [...document.querySelector('[data-stream]').querySelectorAll('table')].every(table => table.querySelector('tbody tr')));
    seen.tables = await page.evaluate(() => [...document.querySelectorAll('[data-stream]')].slice(0, 1).flatMap(section =>
      [...section.querySelectorAll('table')].map(table => [...table.querySelectorAll('tbody tr')].map(row => [...row.children].map(cell => cell.textContent)))));
    await page.screenshot({ path: path.join(folder, 'desktop-tables.png'), fullPage: true });
  }
  await page.close();
}
await browser.close();
console.log(JSON.stringify(seen));
