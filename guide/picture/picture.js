// node picture.js TRACE KEYS PICTURE: shows a trace in speedscope, presses the keys, and keeps what is to be seen.
const path = require("path");
const puppeteer = require("puppeteer-core");

async function main([trace, keys, picture]) {
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: ["--no-sandbox", "--headless=new", "--enable-unsafe-swiftshader"],
    defaultViewport: { width: 1200, height: 200 },
  });
  const page = await browser.newPage();
  const viewer = path.dirname(require.resolve("speedscope/package.json"));
  await page.goto(`file://${viewer}/dist/release/index.html`);
  const input = await page.waitForSelector("input[type=file]");
  await input.uploadFile(trace);
  await page.waitForSelector("canvas");
  for (const key of keys) {
    await page.keyboard.press(key);
  }
  // It draws in the frames after that, and says nowhere when it is done.
  await page.evaluate(async () => {
    for (let frame = 0; frame < 60; frame++) {
      await new Promise(requestAnimationFrame);
    }
  });
  await page.screenshot({ path: picture });
  await browser.close();
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
