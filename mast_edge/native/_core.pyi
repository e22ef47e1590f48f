# --- simulator ---

# --- agent kernels ---
