"""From a resolved experiment to the stages that it needs, and what makes two stages the same."""
