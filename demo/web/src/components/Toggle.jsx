// A button that stays pressed.
export default function Toggle({ pressed, onChange, children }) {
  return (
    <button
      type="button"
      aria-pressed={pressed}
      onClick={() => onChange(!pressed)}
    >
      {children}
    </button>
  );
}
