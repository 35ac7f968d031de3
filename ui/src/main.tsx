import { render } from 'preact';
import './style.css';
import { App } from './shell.tsx';
import { startKeys } from './base/keys.ts';
// What several screens use stands in the first file, so that each screen is one more file and no other.
import './base/resource.ts';
import './ui/lazychart.tsx';
import './ui/spark.tsx';
import './ui/table.tsx';
import './ui/twin.ts';

startKeys();
render(<App />, document.getElementById('app')!);
