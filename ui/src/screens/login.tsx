import { useState } from 'preact/hooks';
import { ApiError, getJSON, send, sentence, session, signedOut } from '../base/api.ts';
import type { Session } from '../base/types.ts';

export default function Login() {
  const [mode, setMode] = useState<'password' | 'token'>('password');
  const [user, setUser] = useState('');
  const [secret, setSecret] = useState('');
  const [wrong, setWrong] = useState('');
  const [busy, setBusy] = useState(false);
  return (
    <main class="login">
      <form
        onSubmit={async (e) => {
          e.preventDefault();
          setBusy(true);
          setWrong('');
          try {
            await send('POST', '/api/v1/login', mode === 'password' ? { user, password: secret } : { token: secret.trim() });
            const s = await getJSON<Session>('/api/v1/session');
            setSecret('');
            session.value = s;
            signedOut.value = s.auth && !s.signed_in;
            if (signedOut.value) setWrong('Vedette took the sign-in, but this browser did not keep its cookie.');
          } catch (err) {
            setWrong(err instanceof ApiError && err.status === 401 ? (mode === 'password' ? 'This user and password do not go together.' : 'This token is not known.') : sentence(err));
          } finally {
            setBusy(false);
          }
        }}
      >
        <h1>Vedette</h1>
        <p class="soft">This installation asks who you are.</p>
        {mode === 'password' ? (
          <>
            <label>
              User
              <input name="user" autocomplete="username" autofocus required value={user} onInput={(e) => setUser(e.currentTarget.value)} />
            </label>
            <label>
              Password
              <input name="password" type="password" autocomplete="current-password" required value={secret} onInput={(e) => setSecret(e.currentTarget.value)} />
            </label>
          </>
        ) : (
          <label>
            Token
            <input name="token" type="password" autocomplete="off" autofocus required value={secret} onInput={(e) => setSecret(e.currentTarget.value)} />
          </label>
        )}
        {wrong && (
          <p class="wrong" role="alert">
            {wrong}
          </p>
        )}
        <div class="row">
          <button type="submit" class="main" disabled={busy}>
            {busy ? 'Signing in …' : 'Sign in'}
          </button>
          <button
            type="button"
            class="link"
            onClick={() => {
              setMode(mode === 'password' ? 'token' : 'password');
              setSecret('');
              setWrong('');
            }}
          >
            {mode === 'password' ? 'Use a token instead' : 'Use a password instead'}
          </button>
        </div>
      </form>
    </main>
  );
}
