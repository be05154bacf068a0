/** A context with several parents: the values of the first, and the end of whichever ends first. */
import type { Context } from "../../context.ts";
import { CancelContext, deadlineOwnerOf } from "./contexts.ts";
import type { Ending } from "./endings.ts";
import { sourceOf } from "./foreign.ts";
import { Source } from "./source.ts";
import type { Phase } from "./waitable.ts";

/**
 * The place of a merged context among the dependents of a parent that is not its first. It is a source, so that the end
 * spreads through it to what depends on the context.
 */
class ParentLink extends Source {
  private readonly merged: MergedContext;
  readonly parentSource: Source;

  constructor(merged: MergedContext, parentSource: Source) {
    super();
    this.merged = merged;
    this.parentSource = parentSource;
  }

  override ended(ending: Ending): Phase {
    const { merged } = this;
    this.dependents = merged.dependents;
    this.ending = ending;
    return merged.ended(ending);
  }
}

export class MergedContext extends CancelContext {
  private readonly others: readonly Context[];

  // Its places in the other parents, where it is linked until it ends.
  private links: readonly ParentLink[];

  constructor(first: Context, others: readonly Context[]) {
    super(first);
    this.others = others;
    this.links = others.map((other) => new ParentLink(this, sourceOf(other)));
    for (const { parentSource } of this.links) {
      const ending = parentSource.poll();
      if (ending?.failed === true) throw ending.error();
    }
    // Foreign code that a poll ran may have ended another parent, the first included.
    this.ending ??= this.parentSource.ending;
    for (const [i, { parentSource }] of this.links.entries()) {
      this.ending ??= parentSource.ending;
      const { nearestDeadline } = parentSource;
      if (nearestDeadline === undefined) continue;
      if (this.nearestDeadline !== undefined && this.nearestDeadline.when <= nearestDeadline.when) continue;
      this.nearestDeadline = nearestDeadline;
      this.deadlineOwner = deadlineOwnerOf(others[i] as Context);
    }
  }

  override linkToParent(): void {
    if (this.ending !== undefined) return;
    // Linked to all before it listens to any: foreign code may end one of them, or call the cancel function.
    const { links } = this;
    this.parentSource.link(this);
    for (const link of links) link.parentSource.link(link);
    this.parentSource.listen();
    for (const { parentSource } of links) if (this.ending === undefined) parentSource.listen();
  }

  override ended(ending: Ending): Phase {
    for (const link of this.links) link.parentSource.unlink(link);
    this.links = [];
    return super.ended(ending);
  }

  protected override otherParents(): readonly Source[] {
    return this.links.map(({ parentSource }) => parentSource);
  }

  override addition(): string {
    return `.Merge(${this.others.join(", ")})`;
  }
}
