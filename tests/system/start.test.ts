import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

t.test(
  'npm start tells the whole story with real processes and ends with 0 when asked for one',
  async (t) => {
    const { code, text } = await new Promise<{ code: number; text: string }>((resolve) => {
      const child = execFile(
        'npm',
        ['start', '--', '--once'],
        { cwd: ROOT, timeout: 120_000 },
        (_error, stdout, stderr) => {
          resolve({ code: child.exitCode ?? -1, text: stdout + stderr });
        },
      );
    });
    t.equal(code, 0, text);
    const story = [
      'polls: 200',
      '(204)',
      'polls: 202',
      'solicited session',
      'cleared by the session',
      'polls: 200',
    ];
    let at = 0;
    for (const part of story) {
      at = text.indexOf(part, at);
      t.ok(at >= 0, `it tells of "${part}", in its place`);
    }
    t.match(text, /Dashboard: http:\/\/127\.0\.0\.1:\d+\//);
  },
);
