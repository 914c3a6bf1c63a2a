// SPDX-License-Identifier: Apache-2.0
// Buffers, whose memory is malloc's, beside strings and objects, whose memory is the engine's; compressed and hashed, as servers do.
'use strict';
const crypto = require('crypto');
const zlib = require('zlib');

let state = 12345;
const below = (bound) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % bound;
};

const hash = crypto.createHash('sha256');
const live = new Array(2000);
for (let step = 0; step < 240000; ++step) {
    const place = below(live.length);
    if (live[place]) hash.update(live[place].subarray(0, 16));
    const size = step % 50 === 0 ? 20000 + below(200000) : 4096 + below(6000);
    const buffer = Buffer.alloc(size);
    buffer.write(JSON.stringify({step, place, text: 'x'.repeat(below(80))}));
    live[place] = buffer;
    if (step % 200 === 0) hash.update(zlib.deflateSync(Buffer.concat(live.filter(Boolean).slice(0, 20)), {level: 1}));
    if (step % 500 === 0) hash.update(crypto.createHash('sha1').update(buffer.toString('latin1')).digest());
}
console.log(hash.digest('hex'));
