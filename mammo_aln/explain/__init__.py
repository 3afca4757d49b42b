"""Why a run says what it says: heat maps, the share of each input, and how far the score follows a moved box."""
