'use strict';
const { createHash } = require('crypto');

function json() {
    const people = [];
    for (let i = 0; i < 4000; i++)
        people.push({ id: i, name: `person ${i}`, tags: [i % 3, i % 5, i % 7].map(String), at: { x: i / 4, y: -i } });
    let text = '';
    for (let i = 0; i < 12; i++)
        text = JSON.stringify(JSON.parse(text || JSON.stringify(people)), null, i % 3);
    return text;
}

function expressions() {
    const lines = [];
    for (let i = 0; i < 20000; i++)
        lines.push(`10.${i % 256}.0.${i % 91} - user${i % 17} [0${i % 10}/Jan/2026] "GET /item/${i}?q=${i * 7} HTTP/1.1" ${i % 4 ? 200 : 404}`);
    const log = /^(\d+(?:\.\d+){3}) - (\w+) \[([^\]]+)\] "(GET|POST) (\/[^ ?]*)(?:\?([^ ]*))? HTTP\/[\d.]+" (\d{3})$/;
    const found = new Map();
    for (const line of lines) {
        const [, , user, , , path, , status] = log.exec(line);
        const key = `${user} ${status} ${path.replace(/\d+/g, (digits) => digits.length)}`;
        found.set(key, (found.get(key) || 0) + 1);
    }
    return [...found].sort().join('\n');
}

async function promises() {
    let sum = 0;
    const one = async (i) => (i % 3 ? i : (await null, -i));
    for (let i = 0; i < 300; i++) {
        const all = await Promise.all(Array.from({ length: 200 }, (_, k) => one(i + k)));
        sum += all.reduce((a, b) => a + b, 0);
        if (i % 50 === 0) await new Promise((done) => setImmediate(done));
    }
    return String(sum);
}

const say = (name, text) => console.log(name, text.length, createHash('sha256').update(text).digest('hex'));
say('json', json());
say('expressions', expressions());
promises().then((text) => say('promises', text + ' sum'));
