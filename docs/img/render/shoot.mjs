// Serves dist/ and one bundle after the other, and takes a picture of each: node shoot.mjs BUNDLES OUT
import { createServer } from 'node:http';
import { readdirSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { chromium } from 'playwright-core';

const [bundles, out] = process.argv.slice(2);
const types = { '.html': 'text/html', '.js': 'text/javascript', '.json': 'application/json', '.css': 'text/css' };
let bundle = '';
const server = createServer((request, response) => {
  const path = request.url.split('?')[0];
  const file = path === '/bundle.json' ? bundle : join('dist', path === '/' ? 'index.html' : path);
  try {
    const body = readFileSync(file);
    response.writeHead(200, { 'content-type': types[extname(file)] ?? 'application/octet-stream' }).end(body);
  } catch { response.writeHead(404).end(); }
});
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
for (const name of readdirSync(bundles).filter((file) => file.endsWith('.json'))) {
  bundle = join(bundles, name);
  const page = await browser.newPage({ viewport: { width: 1500, height: 1000 }, timezoneId: 'UTC' });
  page.on('pageerror', (error) => console.error(name, String(error)));
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.waitForFunction(() => document.title === 'ready', null, { timeout: 60000 });
  const board = await page.$('#board');
  await board.screenshot({ path: join(out, name.replace('.json', '.png')) });
  console.log(name, 'errors:', await page.locator('[data-error]').count(), await page.locator('[data-error]').first().textContent({ timeout: 500 }).catch(() => ''));
  await page.close();
}
await browser.close();
server.close();
