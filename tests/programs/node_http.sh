# An HTTP server, forty clients at once, four worker threads over shared memory, streams, a child process.
# packages: nodejs
# excache: 24M
. "$(dirname "$0")/lib.sh"
cat >work.js <<'JS'
const http = require("http"), fs = require("fs"), crypto = require("crypto"), zlib = require("zlib"), cp = require("child_process");
const { Worker } = require("worker_threads");
const ask = (port, i) => new Promise((ok, bad) => {
	const r = http.request({ port, path: "/" + i, method: "POST" }, a => {
		let s = "";
		a.on("data", d => s += d).on("end", () => ok(s));
	});
	r.on("error", bad);
	r.end("body " + i);
});
const worker = (shared, i) => new Promise((ok, bad) => {
	const w = new Worker(`const { parentPort, workerData: { shared, i } } = require("worker_threads");
		const a = new Int32Array(shared);
		for (let k = 0; k < 20000; k++) Atomics.add(a, k % 64, 1);
		let s = 0; const junk = [];
		for (let k = 0; k < 200000; k++) { junk.push({ k }); s += k % (i + 2); if (junk.length > 5000) junk.length = 0; }
		parentPort.postMessage(s);`, { eval: true, workerData: { shared, i } });
	w.on("message", ok).on("error", bad);
});
(async () => {
	const server = http.createServer((q, a) => {
		let s = "";
		q.on("data", d => s += d).on("end", () => a.end(q.url + " " + s.toUpperCase()));
	});
	await new Promise(ok => server.listen(0, "127.0.0.1", ok));
	const port = server.address().port;
	const all = await Promise.all([...Array(40).keys()].map(i => ask(port, i)));
	console.log(all.join("; "));
	server.close();
	const shared = new SharedArrayBuffer(256);
	console.log(await Promise.all([0, 1, 2, 3].map(i => worker(shared, i))), new Int32Array(shared).reduce((x, y) => x + y));
	const big = Buffer.alloc(3 << 20, "some text ");
	fs.writeFileSync("f", big);
	const z = zlib.gzipSync(fs.readFileSync("f"));
	console.log(crypto.createHash("sha256").update(zlib.gunzipSync(z)).digest("hex"));
	const m = new Map();
	for (let i = 0; i < 150000; i++) m.set("k" + i, { i });
	console.log(m.get("k77777").i, m.size);
	console.log(cp.execSync("echo from a child").toString().trim());
})();
JS
node work.js
